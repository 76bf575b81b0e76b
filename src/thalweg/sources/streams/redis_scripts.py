"""What Redis does for a stream in one step: the scripts that it runs."""

from __future__ import annotations

from typing import Final

_LATER: Final = """
local function later(one, other)
    local ms, seq = string.match(one, '(%d+)-(%d+)')
    local oms, oseq = string.match(other, '(%d+)-(%d+)')
    ms, oms = tonumber(ms), tonumber(oms)
    return ms > oms or (ms == oms and tonumber(seq) > tonumber(oseq))
end
local function facts(key)
    local given, told = redis.call('XINFO', 'STREAM', key), {}
    for i = 1, #given, 2 do told[given[i]] = given[i + 1] end
    told.first = told['first-entry'] and told['first-entry'][1]
    return told
end
"""

FETCH: Final = (
    _LATER
    + """
local key, after, last, field = KEYS[1], ARGV[1], ARGV[2], ARGV[5]
local most, room = tonumber(ARGV[3]), tonumber(ARGV[4])
local first, added, length = '', -1, 0
if after ~= '' and #redis.call('XRANGE', key, after, after) == 0
        and redis.call('EXISTS', key) == 1 then
    -- The entry to go on after is gone: so may be some behind it.
    local told = facts(key)
    if told['entries-added'] and not (told.first and later(after, told.first)) then
        first, added, length = told.first or '', told['entries-added'], told.length
    end
end
local ids, sizes, blobs, n, bytes, page = {}, {}, {}, 0, 0, 16
local from = after == '' and '-' or '(' .. after
while n < most and bytes < room do
    local asked = math.min(page, most - n)
    local entries = redis.call('XRANGE', key, from, last, 'COUNT', asked)
    local payloads = {}
    for i = 1, #entries do
        local cells, payload = entries[i][2], nil
        for j = 1, #cells, 2 do
            if cells[j] == field then payload = cells[j + 1] break end
        end
        if not payload then
            local parts = {}
            for j = 1, #cells, 2 do
                parts[#parts + 1] = cjson.encode(cells[j]) .. ':' .. cjson.encode(cells[j + 1])
            end
            payload = '{' .. table.concat(parts, ',') .. '}'
        end
        n = n + 1
        ids[n], sizes[n], payloads[i] = entries[i][1], struct.pack('<I4', #payload), payload
        bytes = bytes + #payload
    end
    blobs[#blobs + 1] = table.concat(payloads)  -- Long texts are slow to put together.
    if #entries < asked then break end
    from = '(' .. ids[n]
    page = math.max(1, math.min(128, math.floor((room - bytes) * n / (bytes + 1))))
end
ids[n + 1] = ''
return {n, table.concat(ids, '\\n'), table.concat(sizes), blobs,
        first, added, length}
"""
)
"""Give the entries after one in four pieces, and what is known where that one is gone.

KEYS: the stream. ARGV: after which entry, up to which, how many, how many bytes, which field.
"""

NUMBER: Final = (
    _LATER
    + """
local key, group, position, most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('EXISTS', key) == 0 then return {-1, 0} end
local told = facts(key)
local added, first = told['entries-added'], told.first
if not added then return {-1, -1} end
if position == '' then return {added - told.length, added} end
if not later(told['last-generated-id'], position) then return {added, added} end
local from, number = '-', added - told.length
for _, given in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local one = {}
    for i = 1, #given, 2 do one[given[i]] = given[i + 1] end
    local last, read = one['last-delivered-id'], one['entries-read']
    if one.name == group and read then
        if last == position then return {read, added} end
        if first and not later(first, last) and later(position, last) then
            from, number = '(' .. last, read
        end
    end
end
if not first or later(first, position) then return {-1, added} end
while true do
    local entries = redis.call('XRANGE', key, from, position, 'COUNT', 1000)
    number, most = number + #entries, most - #entries
    if #entries < 1000 then return {number, added} end
    if most < 0 then return {-1, added} end
    from = '(' .. entries[1000][1]
end
"""
)
"""Say the how-manieth an entry is of all that were ever added, -1 if unknown, and how many were.

KEYS: the stream. ARGV: the group, the entry's id, how many entries may be looked at.
"""

RESUME: Final = """
local held = redis.call('HMGET', KEYS[1], 'fence', 'batch')
if held[1] and tonumber(held[1]) > tonumber(ARGV[1]) then return -1 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return tonumber(held[2] or 0)
"""
"""Raise the fence and give the last batch; -1 where a larger fence is there.

KEYS: the progress. ARGV: the fence.
"""

FLUSH: Final = """
local fence, before, batch, field = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local held = redis.call('HMGET', KEYS[1], 'fence', 'batch')
if held[1] and tonumber(held[1]) > tonumber(fence) then return 'fenced' end
if held[1] ~= fence or (held[2] or '0') ~= before then return 'lost' end
for k = 2, #KEYS do
    local kind = redis.call('TYPE', KEYS[k]).ok
    if kind ~= 'none' and kind ~= 'stream' then return kind end
end
for k = 2, #KEYS do
    local sizes, bytes, at = ARGV[2 * k + 1], ARGV[2 * k + 2], 1
    for i = 1, #sizes, 4 do
        local size = struct.unpack('<I4', sizes, i)
        redis.call('XADD', KEYS[k], '*', field, string.sub(bytes, at, at + size - 1))
        at = at + size
    end
end
redis.call('HSET', KEYS[1], 'batch', batch)
return 'done'
"""
"""Add entries and say which batch they end with: all of it, or nothing where it is not ours to say.

KEYS: the progress, then streams. ARGV: the fence, the batch before, the batch, the field, then for
each stream its entries' sizes and bytes.
"""
