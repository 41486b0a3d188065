# Reads YAML and URLs as GitLab's Ruby reads them, a JSON object a line, and answers with a line for each: what was read, with
# Ruby's types, or the error's class.
require "date"
require "json"
require "uri"
require "yaml"

def told(value)
  case value
  when nil then ["nil"]
  when true, false then ["boolean", value]
  when Integer then ["integer", value.to_s]
  when Float then ["float", value.to_s]
  when Symbol then ["symbol", value.to_s]
  when Date then value.instance_of?(Date) ? ["date", value.to_s] : ["other", value.class.name]
  when String
    text = value.dup.force_encoding(Encoding::UTF_8)
    text.valid_encoding? ? ["text", text] : ["other", "bytes"]
  when Array then ["list", value.map { |item| told(item) }]
  when Hash then ["map", value.map { |key, item| [told(key), told(item)] }]
  else ["other", value.class.name]
  end
end

def read(text, how)
  case how
  when "unsafe" then YAML.unsafe_load(text) || nil
  when "safe" then YAML.safe_load(text)
  when "url" then parts(text)
  end
end

# What Rails makes of a database's URL.
def parts(text)
  parser = URI::RFC2396_Parser.new
  uri = parser.parse(text)
  raise URI::InvalidURIError unless %w[postgresql postgres].include?(uri.scheme) && uri.opaque.nil?

  found = { "username" => uri.user, "password" => uri.password, "host" => uri.hostname, "port" => uri.port }
  found["database"] = uri.path.delete_prefix("/")
  found.merge!(Hash[uri.query.to_s.split("&").map { |pair| pair.split("=", 2) }])
  raise URI::InvalidURIError unless [nil, "", "postgresql"].include?(found.delete("adapter"))

  found.reject { |_, value| value.nil? || value == "" }.transform_values { |value| parser.unescape(value.to_s) }
end

$VERBOSE = nil
$stdout.sync = false
STDIN.each_line do |line|
  asked = JSON.parse(line)
  begin
    answer = told(read(asked["text"], asked["how"]))
  rescue Exception => error
    answer = ["error", error.class.name]
  end
  puts JSON.generate(answer)
end
