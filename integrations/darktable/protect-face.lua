--[[
Protect Face for darktable: a target storage of the export module.

The exported pictures are protected by one run of `c2p batch`, so that the models are loaded once. Each result goes beside
its original as NAME.protected.EXTENSION, is imported and grouped with it. The original and its edits are not touched.

`python3 install.py --integrations` installs this file and writes the path of c2p into it.
]]

local dt = require "darktable"

-- The program and its first arguments.
local C2P = { "c2p" }

local NAME = "protect_face"
local DEFAULT_STRENGTH = 0.5
-- The formats that c2p writes, by darktable's names of their modules.
local FORMATS = { jpeg = true, png = true, tiff = true, webp = true, avif = true }
local POLL_MS = 500
local MOST_NAMED = 3
local BLOCK = 1024 * 1024

local windows = dt.configuration.running_os == "windows"

-- Files

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

local function copy(from, to)
  local source, problem = io.open(from, "rb")
  if not source then return nil, problem end
  local target
  target, problem = io.open(to, "wb")
  while target do
    local block = source:read(BLOCK)
    if not block then break end
    local written
    written, problem = target:write(block)
    if not written then
      target:close()
      target = nil
    end
  end
  source:close()
  if target then
    local closed
    closed, problem = target:close()
    if closed then return true end
  end
  os.remove(to)
  return nil, problem
end

-- Move a file, onto another disk too. Nobody ever sees half of it under its last name.
local function move(from, to)
  if os.rename(from, to) then return true end
  local part = to .. ".part"
  local copied, problem = copy(from, part)
  if not copied then return nil, problem end
  local renamed
  renamed, problem = os.rename(part, to)
  if not renamed then
    os.remove(part)
    return nil, problem
  end
  os.remove(from)
  return true
end

local function base_name(path)
  return path:match("([^/\\]+)$")
end

-- A free name beside the original.
local function pick_target(image, file_name)
  local stem, extension = file_name:match("^(.*)(%.[^.]*)$")
  local target = string.format("%s/%s.protected%s", image.path, stem, extension)
  local number = 2
  while exists(target) do
    target = string.format("%s/%s.protected-%d%s", image.path, stem, number, extension)
    number = number + 1
  end
  return target
end

-- Commands

local function quote(word)
  if windows then return '"' .. word:gsub("%%", "%%%%") .. '"' end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function quote_all(words)
  local quoted = {}
  for _, word in ipairs(words) do quoted[#quoted + 1] = quote(word) end
  return table.concat(quoted, " ")
end

-- A folder that only this user can look into: it gets unprotected pictures.
local function make_folder()
  math.randomseed(os.time())
  local folder = string.format(
    "%s/protect-face-%d-%06d", dt.configuration.tmp_dir, os.time(), math.random(0, 999999)
  )
  local command = (windows and "mkdir " or "mkdir -m 700 ") .. quote(folder)
  if dt.control.execute(command) ~= 0 then return nil end
  for _, name in ipairs { "photos", "results" } do
    if dt.control.execute("mkdir " .. quote(folder .. "/" .. name)) ~= 0 then return nil end
  end
  return folder
end

local function remove_folder(folder)
  dt.control.execute((windows and "rmdir /s /q " or "rm -rf ") .. quote(folder))
end

-- Settings, kept as darktable's preferences

local function read_setting(name, default)
  local value = dt.preferences.read(NAME, name, "string")
  if value == nil or value == "" then return default end
  return value
end

local prompt = { text = read_setting("prompt", "natural makeup") }
local strength = { value = tonumber(read_setting("strength", "")) or DEFAULT_STRENGTH }
local strip = { value = read_setting("strip-personal", "no") == "yes" }
local panel = nil

-- darktable-cli has no widgets.
if dt.gui then
  prompt = dt.new_widget("entry") {
    text = prompt.text,
    placeholder = "natural makeup",
    tooltip = "makeup style in words; without a word for a product or a colour nothing is painted",
  }
  strength = dt.new_widget("slider") {
    label = "strength",
    tooltip = "from discreet to strong; 0.5 is the default",
    soft_min = 0, hard_min = 0, soft_max = 1, hard_max = 1, step = 0.05, digits = 2,
    value = strength.value,
  }
  strip = dt.new_widget("check_button") {
    label = "remove personal metadata",
    tooltip = "places, names and serial numbers",
    value = strip.value,
  }
  panel = dt.new_widget("box") {
    orientation = "vertical",
    dt.new_widget("label") { label = "makeup style", halign = "start" },
    prompt, strength, strip,
  }
end

-- What the widgets say now, which is kept for the next time.
local function take_settings()
  local words = prompt.text:match("^%s*(.-)%s*$")
  -- Some languages write a comma.
  local number = string.format("%.2f", strength.value):gsub(",", ".")
  dt.preferences.write(NAME, "prompt", "string", words)
  dt.preferences.write(NAME, "strength", "string", number)
  dt.preferences.write(NAME, "strip-personal", "string", strip.value and "yes" or "no")
  local options = { "--strength", number }
  if words ~= "" then
    options[#options + 1] = "--prompt"
    options[#options + 1] = words
  end
  if strip.value then options[#options + 1] = "--strip-personal" end
  return options
end

-- One run of c2p

local function start(folder, options)
  local words = {}
  for _, word in ipairs(C2P) do words[#words + 1] = word end
  for _, word in ipairs { "batch", folder .. "/photos", "-o", folder .. "/results", "--no-report" } do
    words[#words + 1] = word
  end
  for _, word in ipairs(options) do words[#words + 1] = word end
  local command = string.format(
    "%s >%s 2>%s", quote_all(words), quote(folder .. "/out"), quote(folder .. "/err")
  )
  if windows then
    -- cmd would take the quotes of a command line apart.
    write(folder .. "/run.cmd", "@echo off\r\n" .. command .. "\r\n")
    local code = dt.control.execute(quote(folder .. "/run.cmd"))
    write(folder .. "/code", tostring(code))
    return
  end
  write(folder .. "/run.sh", string.format(
    'cd %s || exit\n%s </dev/null &\necho $! >pid\nwait $!\necho $? >code.part\nmv code.part code\n',
    quote(folder), command
  ))
  dt.control.execute("sh " .. quote(folder .. "/run.sh") .. " >/dev/null 2>&1 &")
end

-- The exit code of c2p, once it has ended; 1 if it is gone without one.
local function find_code(folder, missed)
  local code = tonumber(read(folder .. "/code") or "")
  if code then return code, 0 end
  local pid = tonumber(read(folder .. "/pid") or "")
  if pid and dt.control.execute(string.format("kill -0 %d 2>/dev/null", pid)) == 0 then return nil, 0 end
  -- It may have ended a moment ago, or not have begun.
  missed = missed + 1
  if missed > 20 then return 1, missed end
  return nil, missed
end

local function count_results(folder, photos)
  local count = 0
  for _, photo in ipairs(photos) do
    photo.done = photo.done or exists(folder .. "/results/" .. photo.name)
    if photo.done then count = count + 1 end
  end
  return count
end

local function wait(folder, photos)
  local cancelled, told, missed, code = false, false, 0, nil
  local job
  if dt.gui then
    local words = string.format(#photos == 1 and "protecting faces in %d photo" or "protecting faces in %d photos", #photos)
    job = dt.gui.create_job(words, true, function() cancelled = true end)
  end
  repeat
    code, missed = find_code(folder, missed)
    if not code then
      if (cancelled or dt.control.ending) and not told then
        -- It ends as with Ctrl-C: what is finished stays.
        local pid = tonumber(read(folder .. "/pid") or "")
        if pid then
          dt.control.execute(string.format("kill -TERM %d", pid))
          told = true
        end
      end
      dt.control.sleep(POLL_MS)
      if job then job.percent = count_results(folder, photos) / #photos end
    end
  until code
  if job then job.valid = false end
  return code, cancelled
end

-- What came of it

-- What c2p says of a photo, under its own name; else the last sentence of all.
local function find_reason(folder, photo)
  local path, last, about = folder .. "/photos/" .. photo.name, nil, nil
  for _, name in ipairs { "out", "err" } do
    for line in (read(folder .. "/" .. name) or ""):gmatch("[^\r\n]+") do
      local from, to = line:find(path, 1, true)
      if from then about = line:sub(1, from - 1) .. photo.original .. line:sub(to + 1) end
      if name == "err" then last = line end
    end
  end
  local words = (about or last or "no reason was given"):gsub("^c2p: ", "")
  local prefix = photo.original .. ": "
  return words:sub(1, #prefix) == prefix and words:sub(#prefix + 1) or words
end

local function import(target, image)
  local protected = dt.database.import(target)
  if protected then protected:group_with(image.group_leader) end
end

-- Put a result beside its original; returns nil and the reason if that fails.
local function deliver(folder, photo)
  local result = folder .. "/results/" .. photo.name
  if not exists(result) then return nil, find_reason(folder, photo) end
  local target = pick_target(photo.image, photo.original)
  local moved, problem = move(result, target)
  if not moved then return nil, "it can't be put beside the original (" .. tostring(problem) .. ")", true end
  if not dt.control.ending then
    local imported
    imported, problem = pcall(import, target, photo.image)
    if not imported then return nil, "it is in " .. target .. ", but could not be imported (" .. tostring(problem) .. ")" end
  end
  return true
end

local function tell(done, failures, cancelled)
  local words = string.format("Protect Face: %d protected", done)
  if cancelled then words = words .. ", cancelled" end
  if #failures > 0 then
    words = string.format("%s, %d not:", words, #failures)
    for number, failure in ipairs(failures) do
      if number > MOST_NAMED then break end
      words = words .. "\n" .. failure
    end
    if #failures > MOST_NAMED then words = words .. "\n…" end
    dt.print_error("Protect Face: " .. table.concat(failures, "\n"))
  end
  dt.print(words)
end

-- What darktable calls

local function initialize(storage, format, images, high_quality, extra)
  extra.folder = make_folder()
  if not extra.folder then
    dt.print("Protect Face: no folder can be made in " .. dt.configuration.tmp_dir)
    return {}
  end
  extra.photos = {}
  extra.options = take_settings()
end

local function store(storage, image, format, file_name, number, total, high_quality, extra)
  -- darktable exports pictures of one name, from other folders, into the same file.
  local original = base_name(file_name)
  local name = string.format("%06d-%s", #extra.photos + 1, original)
  local moved, problem = move(file_name, extra.folder .. "/photos/" .. name)
  if not moved then
    dt.print(string.format("Protect Face: %s is left out (%s)", original, tostring(problem)))
    os.remove(file_name)
    return
  end
  extra.photos[#extra.photos + 1] = { image = image, name = name, original = original }
end

local function protect(extra)
  start(extra.folder, extra.options)
  local code, cancelled = wait(extra.folder, extra.photos)
  if code == 127 then
    dt.print("Protect Face: " .. C2P[1] .. " is not there; run install.py --integrations again")
    return false
  end
  local done, failures, keep = 0, {}, false
  for _, photo in ipairs(extra.photos) do
    local delivered, reason, stays = deliver(extra.folder, photo)
    if delivered then
      done = done + 1
    elseif not cancelled or stays then
      failures[#failures + 1] = photo.original .. ": " .. reason
    end
    keep = keep or stays
  end
  tell(done, failures, cancelled)
  if keep then dt.print("Protect Face: results are in " .. extra.folder .. "/results") end
  return keep
end

local function finalize(storage, files, extra)
  if not extra.folder then return end
  local well, keep = true, false
  if #extra.photos > 0 then well, keep = pcall(protect, extra) end
  if not well then
    dt.print_error("Protect Face: " .. tostring(keep))
    dt.print("Protect Face: " .. tostring(keep))
  end
  if keep then
    -- Search took long: what came of it is not thrown away. The unprotected copies are.
    for _, photo in ipairs(extra.photos) do os.remove(extra.folder .. "/photos/" .. photo.name) end
  else
    remove_folder(extra.folder)
  end
end

local function supported(storage, format)
  return FORMATS[format.plugin_name] or false
end

dt.register_storage(NAME, "protect faces (beside the original)", store, finalize, supported, initialize, panel)

-- For script_manager, which can stop scripts.
return { destroy = function() dt.destroy_storage(NAME) end }
