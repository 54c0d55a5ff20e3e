# encoding: utf-8
# frozen_string_literal: true

require "java"

module MlNormalize
  # Bytes to a JSON object, by rules that do not depend on the JSON library.
  #
  # Jackson's own ObjectMapper, not LogStash::Json: strict as RFC 8259 wants it, integers of any size kept, and it
  # hands over Java maps, which an event of ours becomes without ever being turned into Ruby objects.
  module Parsing
    MAX_BYTES = 1_000_000
    MAX_DEPTH = 100
    NOT_JSON = "the event is not JSON (RFC 8259, in UTF-8)"
    BOM = "\xEF\xBB\xBF".b.freeze

    JMap = Java::JavaUtil::Map
    JList = Java::JavaUtil::List
    JBigInteger = Java::JavaMath::BigInteger
    JacksonError = Java::ComFasterxmlJacksonCore::JacksonException

    STRING = '"[^"\\\\]*+(?:\\\\.[^"\\\\]*+)*+(?:"|\\\\?\z)'
    BRACKETS = Regexp.new("#{STRING}|[\\[{\\]}]", Regexp::MULTILINE)
    REPAIRABLE = Regexp.new("#{STRING}|NaN|-?Infinity|-?[0-9]++(?:\\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+", Regexp::MULTILINE)
    ESCAPES = Regexp.new(
      "\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}" \
      "|(\\\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\\\.",
      Regexp::MULTILINE
    )
    # What Jackson takes and the rules do not: lone surrogates, numbers that are infinite as a double, integers beyond
    # 64 bits. Looked for in the text with all digits made 0, by plain searches: a regex over every event costs more
    # than the rest. An id in hexadecimal often looks like an exponent, so that one is looked at again.
    SURROGATE = /\\u[dD][89a-fA-F]/
    EXPONENT = /(?:\A|[:,\[\s])-?0+(?:\.0+)?e\+?000/
    EXPONENTS = %w[0e000 0e+000].freeze
    LARGE_INTEGER = ("0" * 19).freeze
    INFINITE_INTEGER = ("0" * 200).freeze

    NAMES = {
      JList => "array", String => "string", Integer => "number", Float => "number",
      TrueClass => "boolean", FalseClass => "boolean", NilClass => "null"
    }.freeze

    def self.mapper
      core = Java::ComFasterxmlJacksonCore
      limits = core::StreamReadConstraints.builder.max_nesting_depth(MAX_DEPTH)
      limits.max_number_length(2 * MAX_BYTES)
      limits.max_string_length(2 * MAX_BYTES)
      limits.max_name_length(2 * MAX_BYTES) if limits.respond_to?(:max_name_length)
      factory = core::JsonFactory.builder.stream_read_constraints(limits.build)
      factory.disable(core::JsonFactory::Feature::INTERN_FIELD_NAMES)
      databind = Java::ComFasterxmlJacksonDatabind
      databind::ObjectMapper.new(factory.build).enable(databind::DeserializationFeature::FAIL_ON_TRAILING_TOKENS)
    end
    private_class_method :mapper

    READER = mapper.reader_for(Java::JavaLang::Object.java_class)

    module_function

    # The object as a java.util.Map, and whether it had to be repaired.
    def parse(raw)
      document, repaired = parse_value(raw)
      return [document, repaired] if document.is_a?(JMap)
      name = NAMES.find { |type, _| document.is_a?(type) }&.last || "number"
      raise Refused.new("not_an_object", "the event is a JSON #{name}, not an object", "parse")
    end

    # Any JSON value, and whether it had to be repaired.
    def parse_value(raw)
      size = raw.bytesize
      if size > MAX_BYTES
        raise Refused.new("too_large", "the event has #{size} bytes; at most #{MAX_BYTES} are accepted", "parse")
      end
      text = raw.encoding == Encoding::UTF_8 ? raw : raw.dup.force_encoding(Encoding::UTF_8)
      text = text.byteslice(3, size) if text.getbyte(0) == 0xEF && text.byteslice(0, 3).b == BOM
      refuse_text unless text.valid_encoding?
      plain = text.tr("1-9E", "000000000e")
      large = plain.include?(LARGE_INTEGER)
      # Jackson would take NULs for UTF-16, and a second byte order mark for the first.
      odd = text.include?("\0") || text.getbyte(0) == 0xEF
      doubtful = !odd && doubtful?(text, plain, large)
      document = odd || doubtful ? :not_json : read(text)
      return [large ? widen(document) : document, false] unless document == :not_json
      if text.count("[{") > MAX_DEPTH && too_deep?(text)
        raise Refused.new("too_deep", "the event is nested more than #{MAX_DEPTH} deep", "parse")
      end
      refuse_text if odd
      made = repair(text)
      repaired = made != text
      document = repaired || doubtful ? read(made) : :not_json
      refuse_text if document == :not_json
      [large ? widen(document) : document, repaired]
    end

    def doubtful?(text, plain, large)
      (text.include?("\\u") && SURROGATE.match?(text)) ||
        (large && plain.include?(INFINITE_INTEGER)) ||
        (EXPONENTS.any? { |exponent| plain.include?(exponent) } && EXPONENT.match?(plain))
    end

    # Java's maps and lists as Ruby's.
    def to_ruby(value)
      case value
      when String, Integer, Float, true, false, nil then value
      when JMap
        made = {}
        value.each { |key, item| made[key] = item.is_a?(String) ? item : to_ruby(item) }
        made
      when JList then value.map { |item| to_ruby(item) }
      else value
      end
    end

    def read(text)
      READER.read_value(text.to_java_bytes)
    rescue JacksonError, Java::JavaIo::IOException
      :not_json
    end

    def refuse_text
      raise Refused.new("not_json", NOT_JSON, "parse")
    end

    # Integers beyond 64 bits become floats, in place.
    def widen(value)
      case value
      when JMap then value.entry_set.each { |entry| entry.set_value(widen(entry.value)) }
      when JList then value.size.times { |i| value.set(i, widen(value.get(i))) }
      when JBigInteger then return widen_integer(value.to_s.to_i)
      when Integer then return widen_integer(value)
      end
      value
    end

    def widen_integer(value)
      Text::INT64.cover?(value) ? value : value.to_f
    end

    def too_deep?(text)
      depth = 0
      text.scan(BRACKETS) do |token|
        case token
        when "[", "{"
          depth += 1
          return true if depth > MAX_DEPTH
        when "]", "}" then depth -= 1
        end
      end
      false
    end

    # NaN is null, what is infinite the text Infinity, a lone surrogate's escape its text.
    def repair(text)
      text.gsub(REPAIRABLE) do |token|
        if token.start_with?('"')
          token.include?("\\u") ? token.gsub(ESCAPES) { $1 ? "\\#{$1}" : $& } : token
        elsif token == "NaN" then "null"
        elsif infinite?(token) then token.start_with?("-") ? '"-Infinity"' : '"Infinity"'
        else token
        end
      end
    end

    def infinite?(token)
      token.end_with?("y") || java.lang.Double.parse_double(token).infinite?
    end
  end
end
