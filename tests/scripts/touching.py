"""A store that counts what each script touches: commands, their arguments and the elements of their answers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from workflows.storage.store import Call, Script, Store

_KEY = "touched"

_COUNT = f"""
local real, touched = redis, 0
local function elements(answer)
  if type(answer) ~= 'table' then return 0 end
  local n = #answer
  for _, inner in ipairs(answer) do n = n + elements(inner) end
  return n
end
local redis = setmetatable({{call = function(...)
  local answer = real.call(...)
  touched = touched + select('#', ...) - 1 + elements(answer)
  real.call('SET', '{_KEY}', touched)
  return answer
end}}, {{__index = real}})
"""


@cache
def _counting(script: Script) -> Script:
    text = _COUNT + script.text
    return Script(script.name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class TouchingStore(Store):
    """Attributes: most: by script, the most elements that one call of it has touched."""

    most: Counter[str]

    def execute(self, calls: Sequence[Call]) -> list[Any]:
        answers: list[Any] = []
        for call in calls:
            answers += super().execute([Call(_counting(call.script), call.keys, call.arguments)])
            touched: Any = self.redis.get(_KEY)
            self.most[call.script.name] = max(self.most[call.script.name], int(touched or 0))
        return answers

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.most = Counter()
