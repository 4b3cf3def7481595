-- darktable's Lua interface, as far as a storage uses it, and an export as darktable 4.2 does one.
-- lua darktable.lua SCENARIO: a Lua file that returns a table; prints what happened, a line each, fields between tabs.

local scenario = dofile(arg[1])

local function tell(...)
  local words = {}
  for _, word in ipairs { ... } do words[#words + 1] = (tostring(word):gsub("\n", "|"):gsub("\t", " ")) end
  print(table.concat(words, "\t"))
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local dt = { control = { ending = false }, database = {}, configuration = {}, preferences = {} }
package.loaded["darktable"] = dt

dt.configuration.running_os = "linux"
dt.configuration.tmp_dir = scenario.tmp_dir

function dt.print(words) tell("print", words) end
function dt.print_error(words) tell("error", words) end

local kept = scenario.preferences or {}
function dt.preferences.read(script, name, kind)
  assert(kind == "string")
  return kept[script .. "/" .. name] or ""
end
function dt.preferences.write(script, name, kind, value)
  assert(kind == "string" and type(value) == "string")
  kept[script .. "/" .. name] = value
  tell("preference", name, value)
end

function dt.control.execute(command)
  local _, how, code = os.execute(command)
  return how == "exit" and code or 256
end

local slept, cancel = 0, nil
function dt.control.sleep(milliseconds)
  os.execute("sleep 0.02")
  slept = slept + 1
  assert(slept < 500, "it waits for ever")
  if scenario.cancel_when and cancel and exists(scenario.cancel_when) then
    cancel()
    cancel = nil
  end
end

if not scenario.headless then
  dt.gui = {}
  function dt.gui.create_job(words, has_bar, on_cancel)
    assert(has_bar and type(on_cancel) == "function")
    cancel = on_cancel
    tell("job", words)
    return setmetatable({}, {
      __newindex = function(_, name, value)
        if name == "percent" then assert(value >= 0 and value <= 1) end
        tell("job " .. name, value)
      end,
    })
  end
end

local is_widget = {}
function dt.new_widget(kind)
  assert(dt.gui, "darktable-cli has no widgets")
  return function(attributes)
    attributes.kind = kind
    is_widget[attributes] = true
    return attributes
  end
end

function dt.database.import(path)
  if scenario.import_fails or not exists(path) then error("error while importing") end
  return {
    group_with = function(self, leader) tell("imported", path, leader.filename) end,
  }
end

local storage
function dt.register_storage(name, label, store, finalize, supported, initialize, widget)
  assert(type(name) == "string" and type(label) == "string")
  for _, callback in ipairs { store, finalize, supported, initialize } do assert(type(callback) == "function") end
  assert(widget == nil or is_widget[widget])
  storage = {
    store = store, finalize = finalize, supported = supported, initialize = initialize, widget = widget,
  }
end

dofile(scenario.script)

for _, format in ipairs { "jpeg", "png", "tiff", "webp", "avif", "exr", "pdf", "jpegxl" } do
  if storage.supported({}, { plugin_name = format }) then tell("supported", format) end
end
if storage.widget then
  for _, widget in ipairs(storage.widget) do
    local value = widget.text
    if value == nil then value = widget.value end
    tell("widget", widget.kind, value == nil and "" or value)
  end
  if scenario.set then scenario.set(storage.widget) end
end

-- The export: a file of the image's own name in the folder of temporary files, for one image after the other.
local images = {}
for number, path in ipairs(scenario.images) do
  local folder, name = path:match("^(.*)/([^/]*)$")
  images[number] = { path = folder, filename = name }
  images[number].group_leader = images[number]
end
local format, extra, files = { plugin_name = "jpeg" }, {}, {}
local chosen = storage.initialize({}, format, images, true, extra)
tell("chosen", chosen == nil and "all" or #chosen)
for number, image in ipairs(chosen or images) do
  local exported = dt.configuration.tmp_dir .. "/" .. image.filename:gsub("%.[^.]*$", "") .. ".jpg"
  local file = assert(io.open(exported, "wb"))
  file:write("pixels of " .. image.path .. "/" .. image.filename)
  file:close()
  files[image] = exported
  storage.store({}, image, format, exported, number, #images, true, extra)
end
storage.finalize({}, files, extra)
tell("finished")
