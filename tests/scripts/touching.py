"""A store that counts what each script touches: commands, their arguments and the elements of their answers; and the
bytes of all that."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

from workflows.storage.store import BlockingMove, Call, Script, Store, packb

_KEYS = ("touched", "weighed")

# Scripts call through `call`, and those that change instances through `pcall` (`aside.lua`).
_COUNT = """
local real, touched, weighed = redis, 0, 0
local function count(answer)
  if type(answer) == 'string' then weighed = weighed + #answer end
  if type(answer) ~= 'table' then return end
  touched = touched + #answer
  for _, inner in ipairs(answer) do count(inner) end
end
local function counted(call)
  return function(...)
    local answer = call(...)
    touched = touched + select('#', ...) - 1
    for n = 2, select('#', ...) do weighed = weighed + #tostring((select(n, ...))) end
    count(answer)
    return answer
  end
end
local redis = setmetatable({call = counted(real.call), pcall = counted(real.pcall)}, {__index = real})
local function measured()
"""
_SAY = f"""
end
local said = measured()
real.call('SET', '{_KEYS[0]}', touched)
real.call('SET', '{_KEYS[1]}', weighed)
return said
"""


@cache
def _counting(script: Script) -> Script:
    text = _COUNT + script.text + _SAY
    return Script(script.name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class TouchingStore(Store):
    """Attributes:
    most: by script, the most elements that one call of it has touched.
    heaviest: by script, the most bytes that one call of it has been given and has touched.
    calls: of all stores: how often each script was called.
    meter: what to read before and after each call, in place of counting: the scripts are left as they are.
    spent: by script, the differences, in order.
    """

    calls: ClassVar[Counter[str]] = Counter()
    meter: ClassVar[Callable[[], float] | None] = None
    spent: ClassVar[dict[str, list[float]]] = defaultdict(list)

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.most: Counter[str] = Counter()
        self.heaviest: Counter[str] = Counter()

    def execute(self, calls: Sequence[Call], *, behind: BlockingMove | None = None) -> list[Any]:
        self.calls.update(call.script.name for call in calls)
        answers: list[Any] = []
        for call in calls:
            if meter := type(self).meter:
                before = meter()
                answers += super().execute([call], behind=behind)
                self.spent[call.script.name].append(meter() - before)
                behind = None
                continue
            answers += super().execute([Call(_counting(call.script), call.keys, call.arguments)], behind=behind)
            behind = None
            touched, weighed = (int(found or 0) for found in self.redis.mget(_KEYS))
            name = call.script.name
            self.most[name] = max(self.most[name], touched)
            self.heaviest[name] = max(self.heaviest[name], weighed + len(packb(call.arguments)))
        return answers
