-- uses: instance
-- What `run` has published for whoever looks: of each name the latest value, {n, t, v}, packed in the header's field
-- `vals` (Value in records.py).
local published = {}

-- Rarely:

local function are_values(values)
  if type(values) ~= 'table' then return false end
  for name, value in pairs(values) do
    local is_one = type(name) == 'string' and type(value) == 'table' and type(value.v) == 'string'
    if not (is_one and type(value.n) == 'number' and type(value.t) == 'number') then return false end
  end
  return true
end

local function stored(I)
  local blob = redis.call('HGET', I.h, 'vals')
  if not blob then return {} end
  local ok, values = pcall(cmsgpack.unpack, blob)
  if ok and are_values(values) then return values end
  aside.note(I.h, 'vals', 'what it has published cannot be read')
  return {}
end

-- The oldest of what earlier lives have published, if this one has added more names than there may be.
local function too_many(values)
  local number, oldest = 0, nil
  for name, value in pairs(values) do
    number = number + 1
    local is_former = value.n == 0
    if is_former and (not oldest or value.t < values[oldest].t) then oldest = name end
  end
  return number > limits.VALUES and oldest
end

-- Goes with the decision that follows from it: so a replay that passes the same place again adds nothing, and what was
-- published over a journal that Redis has lost is lost with it (F42).
function published.add(I, new)
  local values = stored(I)
  for name, value in pairs(new) do values[name] = value end
  local oldest = too_many(values)
  while oldest do
    values[oldest] = nil
    oldest = too_many(values)
  end
  redis.call('HSET', I.h, 'vals', cmsgpack.pack(values))
end

-- The next life begins with the values of this one.
function published.hand_on(I)
  local values = stored(I)
  for _, value in pairs(values) do value.n = 0 end
  if next(values) then redis.call('HSET', I.h, 'vals', cmsgpack.pack(values)) end
end
