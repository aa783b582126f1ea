-- Copies of requests, and questions to a service that decides. Both go to the socket "inner" of the same process, which leads them to the lane
-- that they name, so that balancing, TLS and endpoints are those of every other request.

local inner = "unix@" .. (os.getenv("INNER") or "inner/0")
local longest_ms = 10000
local calls = { GET = "get", HEAD = "head", PUT = "put", POST = "post", DELETE = "delete" }
local not_passed = { ["content-length"] = true, ["transfer-encoding"] = true, ["connection"] = true, ["upgrade"] = true,
  ["expect"] = true, ["te"] = true, ["host"] = true }
local most_copies = 512
local copies = 0

local function headers_of(txn)
  local found = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    -- names of ours are instructions to the socket "inner": a client has none to give
    if not not_passed[name] and name:lower():sub(1, 10) ~= "x-netloom-" then
      local list = {}
      for i = 0, #values do list[#list + 1] = values[i] end
      found[name] = list
    end
  end
  found["x-forwarded-for"] = found["x-forwarded-for"] or { txn.sf:src() }
  return found
end

local function call(lane, method, host, target, headers, body)
  local verb = calls[method]
  headers["x-netloom-lane"] = { lane }
  if verb == nil then
    headers["x-netloom-method"] = { method }
    verb = body and "post" or "get"
  end
  headers["host"] = { host }
  local client = core.httpclient()
  return client[verb](client, { url = "http://inner" .. target, headers = headers, body = body, dst = inner, timeout = longest_ms })
end

local function mirror(lane, method, host, target, headers, body)
  local ok, why = pcall(call, lane, method, host, target, headers, body)
  copies = copies - 1
  if not ok then core.log(core.info, "mirror: " .. tostring(why)) end
end

core.register_action("netloom_mirror", { "http-req" }, function(txn, lane)
  if copies >= most_copies then return end
  local body = txn.sf:req_body()
  local length = tonumber(txn.sf:req_fhdr("content-length")) or 0
  if #body < length then return end
  if body == "" then body = nil end
  local method, host, target = txn.sf:method(), txn.sf:req_fhdr("host"), txn.sf:pathq()
  local headers = headers_of(txn)
  copies = copies + 1
  core.register_task(function() mirror(lane, method, host, target, headers, body) end)
end, 1)

core.register_action("netloom_ask", { "http-req" }, function(txn, lane, path, names)
  local headers = headers_of(txn)
  headers["x-original-method"] = { txn.sf:method() }
  headers["x-original-uri"] = { txn.sf:pathq() }
  local ok, answer = pcall(call, lane, txn.sf:method(), txn.sf:req_fhdr("host"), path, headers, nil)
  if not ok or answer == nil or answer.status == nil or answer.status == 0 or answer.status >= 500 then
    txn:done(txn:reply({ status = 503, headers = { ["content-type"] = { "text/plain" } }, body = "nobody decides\n" }))
    return
  end
  if answer.status >= 200 and answer.status < 300 then
    for name in names:gmatch("[^,]+") do
      txn.http:req_del_header(name)
      local values = answer.headers and answer.headers[name]
      if values then for i = 0, #values do txn.http:req_add_header(name, values[i]) end end
    end
    return
  end
  local passed = {}
  for _, name in ipairs({ "www-authenticate", "location", "set-cookie", "content-type" }) do
    local values = answer.headers and answer.headers[name]
    if values then
      passed[name] = {}
      for i = 0, #values do table.insert(passed[name], values[i]) end
    end
  end
  txn:done(txn:reply({ status = answer.status, headers = passed, body = answer.body or "" }))
end, 3)
