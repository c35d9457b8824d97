"""What Redis does in one step, in Lua, and how a room lies in its keys.

A room's keys share the tag `{ROOM}`, so that a Redis Cluster keeps them together:

    log       a stream: one entry for each flush of a hub, in the room's one order
    meta      a hash: epoch, first, last, time, tail, and who has the room open
    ids       a hash: a message's id → its number and the digest of its text
    order     a sorted set: the same ids by number, for trimming
    members   a hash: n:FOLDED → owner, secret's digest, name; s:DIGEST → FOLDED
    batch:…   a hash for each owner: the number and the answer of its last batch

An entry of the log is called LAST-0 where it holds messages, LAST being the number of its last one,
and LAST-1, LAST-2, … where it holds only news. So a number is a place in the stream. Its field 0 is
the header, "FIRST TIME PREVIOUS KEPT": the number of its first message, seconds since the Unix
epoch, the entry before it as NAME@TIME, the oldest number that is kept. The fields 1, 2, … are what
was said:

    m[name, message, id]     a message, in JSON      rOWNER DIGEST NAME    who had that secret has
    jNAME                    joined                                        moved to that owner
    lNAME                    left                    tNAME                 is typing

An owner is one opening of the room by one node, NODE.COUNT: what an earlier opening leaves behind
can't be taken for a later one's.

Every script begins with its keys, the epoch that the caller knows (where it has to know one), and
answers a list whose first item is OK, or EPOCH where the numbering began anew.
"""

from __future__ import annotations

from typing import Final

from . import HistoryUnavailable, NumberingBeganAnew

# Of news behind the last message so many stay, or twice as many; messages are trimmed by number.
NEWS_KEPT: Final = 256

_PRELUDE: Final = """
local log, meta, ids, order, members = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local function time()
  local now = redis.call('TIME')
  local said = redis.call('HGET', meta, 'time')
  local text = string.format('%d.%06d', now[1], now[2])
  -- The clock may be set back; a room's time never falls.
  if said and tonumber(said) > tonumber(text) then return said end
  return text
end

-- Put an entry into the log: what was said, and how many messages are among it.
local function say(said, messages, now)
  local state = redis.call('HMGET', meta, 'last', 'tail', 'time', 'first')
  local last = tonumber(state[1]) + messages
  local header = string.format('%d %s %s@%s %s', last - messages + 1, now, state[2],
                               state[3], state[4])
  local entry = {'0', header}
  for i, item in ipairs(said) do
    entry[#entry + 1] = tostring(i)
    entry[#entry + 1] = item
  end
  local name = string.format('%d-%s', last, messages > 0 and '0' or '*')
  local tail = redis.call('XADD', log, name, unpack(entry))
  redis.call('HSET', meta, 'last', last, 'tail', tail, 'time', now)
  local news = tonumber(string.match(tail, '-(%d+)$'))
  if news > 0 and news % NEWS_KEPT == 0 then
    local upto = string.format('%d-%d', last, news - NEWS_KEPT)
    for _, old in ipairs(redis.call('XRANGE', log, last .. '-1', upto)) do
      redis.call('XDEL', log, old[1])
    end
  end
  return last
end

-- Drop what is before number `first`, and its ids.
local function trim(first)
  redis.call('HSET', meta, 'first', first)
  redis.call('XTRIM', log, 'MINID', first .. '-0')
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. first)) do
    redis.call('HDEL', ids, id)
  end
  redis.call('ZREMRANGEBYSCORE', order, '-inf', '(' .. first)
end

-- Forget a little of what is older than `age` seconds, and of `last` messages all but the newest
-- `keep`; return the oldest number that is kept.
local function forget(last, keep, age, entries)
  local first = tonumber(redis.call('HGET', meta, 'first'))
  local oldest, start, limit = first, '-', tonumber(time()) - age
  if keep > 0 then oldest = math.max(oldest, last - keep + 1) end
  for _ = 1, age > 0 and entries or 0 do
    local entry = redis.call('XRANGE', log, start, '+', 'COUNT', 1)[1]
    if not entry or tonumber(string.match(entry[2][2], '^%S+ (%S+)')) >= limit then break end
    oldest = math.max(oldest, tonumber(string.match(entry[1], '^(%d+)')) + 1)
    start = '(' .. entry[1]
  end
  if oldest > first then trim(oldest) end
  return oldest
end

-- Put news into the log; Lua passes no more than some thousand arguments on at once.
local function tell(news)
  for i = 1, #news, 1000 do
    say({unpack(news, i, math.min(i + 999, #news))}, 0, time())
  end
end

-- Forget what is too old while nobody speaks, and let every node know: in an entry with nothing but
-- a header.
local function grow_old(age)
  local state = redis.call('HMGET', meta, 'last', 'first')
  local first = forget(tonumber(state[1]), 0, age, 1000)
  if first > tonumber(state[2]) then say({}, 0, time()) end
  return first
end

-- Redis has come back with less than it had: numbers that were seen would be given again.
local function begin_anew()
  redis.call('HSET', meta, 'epoch', redis.sha1hex(time() .. log))
  return {'EPOCH'}
end

local function put(folded, owner, digest, name)
  redis.call('HSET', members, 'n:' .. folded, owner .. ' ' .. digest .. ' ' .. name,
             's:' .. digest, folded)
end

local function look_up(folded)
  local held = redis.call('HGET', members, 'n:' .. folded)
  if not held then return nil end
  return string.match(held, '^(%S+) (%S+) (.*)$')
end

local function remove(folded, digest)
  redis.call('HDEL', members, 'n:' .. folded, 's:' .. digest)
end
""".replace("NEWS_KEPT", str(NEWS_KEPT))

# owner, a new epoch, seconds to keep → epoch, last, first, tail, its time, then the names that are
# in the room
OPEN: Final = (
    _PRELUDE
    + """
local owner, fresh, age = ARGV[1], ARGV[2], tonumber(ARGV[3])
redis.call('HSETNX', meta, 'epoch', fresh)
redis.call('HSETNX', meta, 'last', 0)
redis.call('HSETNX', meta, 'first', 1)
redis.call('HSETNX', meta, 'tail', '0-0')
redis.call('HSETNX', meta, 'time', '0')
redis.call('HSET', meta, 'o:' .. owner, 1)
grow_old(age)
local reply = redis.call('HMGET', meta, 'epoch', 'last', 'first', 'tail', 'time')
table.insert(reply, 1, 'OK')
local held = redis.call('HGETALL', members)
for i = 1, #held, 2 do
  if string.sub(held[i], 1, 2) == 'n:' then
    reply[#reply + 1] = string.match(held[i + 1], '^%S+ %S+ (.*)$')
  end
end
return reply
"""
)

# epoch, the last number that the caller has seen, owner, the batch's number, messages to keep,
# seconds to keep, then what is said, three arguments each:
#   m{JSON}, id, digest of the text;  l{NAME}, folded, digest of the secret;  t{NAME}, -, -
# → time, first, then a number for each message: 7 accepted, -7 a duplicate of 7, ?7 a conflict
APPEND: Final = (
    _PRELUDE
    + """
local batch = KEYS[6]
local seen, owner, number = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local keep, age = tonumber(ARGV[5]), tonumber(ARGV[6])
local state = redis.call('HMGET', meta, 'epoch', 'last')
if state[1] ~= ARGV[1] then return {'EPOCH'} end
if tonumber(state[2]) < seen then return begin_anew() end
local done = redis.call('HMGET', batch, 'number', 'answer')
if done[1] then
  -- The answer was lost, and this is the same once more; or it comes after one that came later.
  if tonumber(done[1]) == number then return cjson.decode(done[2]) end
  if tonumber(done[1]) > number then return {'STALE'} end
end

local now, last, said, messages, numbers = time(), tonumber(state[2]), {}, 0, {}
for i = 7, #ARGV, 3 do
  local what, second, third = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local kind = string.sub(what, 1, 1)
  if kind == 'm' then
    local earlier = second ~= '' and redis.call('HGET', ids, second)
    if earlier then
      local seq, digest = string.match(earlier, '^(%d+) (.*)$')
      numbers[#numbers + 1] = (digest == third and '-' or '?') .. seq
    else
      messages = messages + 1
      local seq = last + messages
      if second ~= '' then
        redis.call('HSET', ids, second, seq .. ' ' .. third)
        redis.call('ZADD', order, seq, second)
      end
      said[#said + 1] = what
      numbers[#numbers + 1] = tostring(seq)
    end
  elseif kind == 'l' then
    local holder, digest = look_up(second)
    if holder == owner and digest == third then
      remove(second, third)
      said[#said + 1] = what
    end
  else
    said[#said + 1] = what
  end
end

-- Before it is said: so whoever hears it knows what is gone.
local first = forget(last + messages, keep, age, 20)
if #said > 0 then say(said, messages, now) end

local answer = {'OK', now, tostring(first), unpack(numbers)}
redis.call('HSET', batch, 'number', number, 'answer', cjson.encode(answer))
redis.call('EXPIRE', batch, 3600)
return answer
"""
)

# epoch, owner, digest of the secret, digest of another's or '', then name and folded name of each
# candidate → name, and the number of the last message; or TAKEN, and all folded names
CLAIM: Final = (
    _PRELUDE
    + """
local owner, digest, resumed = ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', meta, 'epoch') ~= ARGV[1] then return {'EPOCH'} end
local last = redis.call('HGET', meta, 'last')
local mine = redis.call('HGET', members, 's:' .. digest)
if mine then
  -- The answer was lost, and this is the same once more.
  local _, _, name = look_up(mine)
  return {'OK', name, last}
end
local folded = resumed ~= '' and redis.call('HGET', members, 's:' .. resumed)
if folded then
  local _, _, name = look_up(folded)
  remove(folded, resumed)
  put(folded, owner, digest, name)
  say({'r' .. owner .. ' ' .. resumed .. ' ' .. name}, 0, time())
  return {'OK', name, last}
end
for i = 5, #ARGV, 2 do
  if not look_up(ARGV[i + 1]) then
    put(ARGV[i + 1], owner, digest, ARGV[i])
    say({'j' .. ARGV[i]}, 0, time())
    return {'OK', ARGV[i], last}
  end
end
local reply = {'TAKEN'}
for _, field in ipairs(redis.call('HKEYS', members)) do
  if string.sub(field, 1, 2) == 'n:' then reply[#reply + 1] = string.sub(field, 3) end
end
return reply
"""
)

# the last number that the caller has seen, epoch, the entry that it has heard last and the time of
# that, seconds to keep → tail, first, then owner, digest, folded name and name of each member
LOOK: Final = (
    _PRELUDE
    + """
local cursor, heard_at = ARGV[3], ARGV[4]
local state = redis.call('HMGET', meta, 'epoch', 'last')
if state[1] ~= ARGV[2] then return {'EPOCH'} end
if tonumber(state[2]) < tonumber(ARGV[1]) then return begin_anew() end
-- Or something else was said in its place meanwhile, by somebody who did not know.
local heard = redis.call('XRANGE', log, cursor, cursor)[1]
if heard and string.match(heard[2][2], '^%S+ (%S+)') ~= heard_at then return begin_anew() end
local first = grow_old(tonumber(ARGV[5]))
local number = tonumber(string.match(cursor, '^%d+'))
if number >= first and not redis.call('XRANGE', log, number .. '-0', number .. '-0')[1] then
  return begin_anew()
end
local reply = {'OK', redis.call('HGET', meta, 'tail'), tostring(first)}
local held = redis.call('HGETALL', members)
for i = 1, #held, 2 do
  if string.sub(held[i], 1, 2) == 'n:' then
    local owner, digest, name = string.match(held[i + 1], '^(%S+) (%S+) (.*)$')
    for _, item in ipairs({owner, digest, string.sub(held[i], 3), name}) do
      reply[#reply + 1] = item
    end
  end
end
return reply
"""
)

# epoch, owner, then digest, folded name and name of each → the names that are another's now
RESTORE: Final = (
    _PRELUDE
    + """
local owner = ARGV[2]
if redis.call('HGET', meta, 'epoch') ~= ARGV[1] then return {'EPOCH'} end
redis.call('HSET', meta, 'o:' .. owner, 1)
local said, lost = {}, {'OK'}
for i = 3, #ARGV, 3 do
  local digest, folded, name = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local holder = look_up(folded)
  if not holder then
    put(folded, owner, digest, name)
    said[#said + 1] = 'j' .. name
  elseif holder ~= owner then
    lost[#lost + 1] = name
  end
end
tell(said)
return lost
"""
)

# owner, then the digests of the secrets of those to withdraw, or none for all of them; where the
# owner ends in a dot, it stands for all of a node's → OK
WITHDRAW: Final = (
    _PRELUDE
    + """
local owner, whole, wanted = ARGV[1], #ARGV == 1, {}
local function owned(holder)
  if string.sub(owner, -1) ~= '.' then return holder == owner end
  return string.sub(holder, 1, #owner) == owner
end
for i = 2, #ARGV do wanted[ARGV[i]] = true end
local said, left = {}, 0
local held = redis.call('HGETALL', members)
for i = 1, #held, 2 do
  if string.sub(held[i], 1, 2) == 'n:' then
    local folded = string.sub(held[i], 3)
    local holder, digest, name = string.match(held[i + 1], '^(%S+) (%S+) (.*)$')
    if owned(holder) and (whole or wanted[digest]) then
      remove(folded, digest)
      said[#said + 1] = 'l' .. name
    else
      left = left + 1
    end
  end
end
if redis.call('HEXISTS', meta, 'epoch') == 0 then return {'OK'} end
tell(said)
if whole then
  -- For as long as one may still be on its way a second time.
  if KEYS[6] then redis.call('EXPIRE', KEYS[6], 60) end
  local open = 0
  for _, field in ipairs(redis.call('HKEYS', meta)) do
    if string.sub(field, 1, 2) == 'o:' then
      if owned(string.sub(field, 3)) then
        redis.call('HDEL', meta, field)
      else
        open = open + 1
      end
    end
  end
  -- A room in which nothing was said leaves nothing behind.
  if open == 0 and left == 0 and redis.call('HGET', meta, 'last') == '0' then
    redis.call('DEL', log, meta, ids, order, members)
  end
end
return {'OK'}
"""
)

# KEYS are the nodes' sorted set, by the time in seconds at which a lease ends, and the caller's
# wake stream; a node, its lease in seconds → 1 where its lease stood until now, the nodes that live
SIGN: Final = """
local nodes, wake = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local lease = redis.call('ZSCORE', nodes, ARGV[1])
redis.call('ZADD', nodes, now + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', '(' .. now)
redis.call('EXPIRE', wake, 60)
local reply = redis.call('ZRANGEBYSCORE', nodes, now, '+inf')
table.insert(reply, 1, lease and tonumber(lease) >= now and '1' or '0')
table.insert(reply, 1, 'OK')
return reply
"""


class NameTaken(Exception):
    """None of the names was free; `names` are all that are not, folded."""

    def __init__(self, names: set[str]) -> None:
        super().__init__("none of these names is free")
        self.names = names


def check_answer(answer: list[str]) -> list[str]:
    """Return what a script has answered.

    Raises:
        NumberingBeganAnew: the epoch is over.
        NameTaken: see there.
        HistoryUnavailable: it was not done.
    """
    match answer:
        case ["OK", *rest]:
            return rest
        case ["EPOCH"]:
            raise NumberingBeganAnew
        case ["TAKEN", *names]:
            raise NameTaken(set(names))
        case _:  # STALE: a later batch of ours is in.
            raise HistoryUnavailable(f"Redis answered out of turn: {answer[:1]}")
