# encoding: utf-8
# frozen_string_literal: true

require "digest"

module MlNormalize
  # Values as text, spelled as Python's json module spells them; numbers and booleans that a text spells.
  module Text
    MAX_SHOWN = 200
    MAX_TEXT = 32_766
    MAX_DEPTH = 16
    MAX_ITEMS = 1000
    INT64 = (-(2**63)...(2**64)).freeze
    # What Python's str.strip() strips.
    BLANK = /\A[\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*\z/
    NUMBER = /\A[+-]?(?:0|[1-9][0-9]{0,40})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\z/
    FLOAT_SIGN = /[.eE]/
    MAY_SPELL = "+-0123456789tTfF".each_char.to_set.freeze
    BOOLEANS = { "true" => true, "false" => false, "True" => true, "False" => false, "TRUE" => true, "FALSE" => false }.freeze
    TRAILING_ZEROS = /(?<=.)0+\z/
    ESCAPED = /["\\\u0000-\u001f]/
    ESCAPES = {
      '"' => '\\"', "\\" => "\\\\", "\n" => "\\n", "\r" => "\\r", "\t" => "\\t", "\f" => "\\f", "\b" => "\\b"
    }.tap { |made| (0..31).each { |code| made[code.chr] ||= format("\\u%04x", code) } }.freeze

    module_function

    # An id that the same content always gets.
    def content_id(raw)
      first = 0
      last = raw.bytesize
      first += 1 while first < last && edge?(raw.getbyte(first))
      last -= 1 while last > first && edge?(raw.getbyte(last - 1))
      Digest::SHA256.hexdigest(raw.byteslice(first, last - first))[0, 32]
    end

    def edge?(byte)
      byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09
    end

    # The text, with a mark where it was cut.
    def cut(text)
      text.length <= MAX_TEXT ? text : "#{text[0, MAX_TEXT]}<cut: #{text.length - MAX_TEXT} more characters>"
    end

    # The value of one of labels.*: text as it is, anything else as JSON.
    def label(value)
      cut(value.is_a?(String) ? value : json(jsonable(value)))
    end

    # A value for a message: as JSON, cut.
    def shown(value)
      text = json(value)
      text.length <= MAX_SHOWN ? text : "#{text[0, MAX_SHOWN]}…"
    end

    def json(value)
      case value
      when String then %("#{value.gsub(ESCAPED, ESCAPES)}")
      when Float then float(value)
      when nil then "null"
      when Hash then "{#{value.map { |key, item| "#{json(key)}:#{json(item)}" }.join(",")}}"
      when Array then "[#{value.map { |item| json(item) }.join(",")}]"
      when Integer, true, false then value.to_s
      else json(value.to_s)
      end
    end

    # As Python writes it. From Java's digits: JRuby's own are not always the shortest that are exact.
    def float(value)
      text = java.lang.Double.to_string(value)
      text = format("%.0E", value) if value.abs < 1e-320 && format("%.0E", value).to_f == value
      mantissa, exponent = text.split("E")
      return text if exponent.nil?
      sign = mantissa.delete_prefix!("-") ? "-" : ""
      digits = mantissa.delete(".").sub(TRAILING_ZEROS, "")
      sign + (exponent.to_i.between?(-4, 15) ? fixed(digits, exponent.to_i) : scientific(digits, exponent.to_i))
    end

    def fixed(digits, exponent)
      return "0.#{"0" * (-exponent - 1)}#{digits}" if exponent.negative?
      return "#{digits.ljust(exponent + 1, "0")}.0" if digits.length <= exponent + 1
      digits.dup.insert(exponent + 1, ".")
    end

    def scientific(digits, exponent)
      fraction = digits.length > 1 ? ".#{digits[1..]}" : ""
      "#{digits[0]}#{fraction}e#{exponent.negative? ? "-" : "+"}#{exponent.abs.to_s.rjust(2, "0")}"
    end

    # The number or boolean that a text spells, or the value as it is. `007` is not a number: its zeros have a meaning.
    def spelled(value)
      return value unless value.is_a?(String) && MAY_SPELL.include?(value[0])
      return BOOLEANS.fetch(value, value) unless NUMBER.match?(value)
      return value.to_i unless FLOAT_SIGN.match?(value)
      number = java.lang.Double.parse_double(value)
      number.finite? ? number : value
    end

    # Whether a value holds anything: it is not null, blank or empty.
    def filled?(value)
      case value
      when nil then false
      when String then !BLANK.match?(value)
      when Array, Hash then !value.empty?
      else true
      end
    end

    def number?(value)
      value.is_a?(Float) || value.is_a?(Integer)
    end

    # An integer beyond 64 bits is a float.
    def integer(value)
      INT64.cover?(value) ? value : value.to_f
    end

    # A nested value without what no store takes: too deep, too many, too long; each cut says so.
    def jsonable(value, depth = MAX_DEPTH)
      case value
      when String then cut(value)
      when Integer then integer(value)
      when Hash
        return "<dict: nested deeper than #{MAX_DEPTH}>" if depth <= 0
        made = {}
        value.first(MAX_ITEMS).each { |key, item| made[cut(key)] = jsonable(item, depth - 1) }
        made["<cut>"] = "#{value.size - MAX_ITEMS} more keys" if value.size > MAX_ITEMS
        made
      when Array
        return "<list: nested deeper than #{MAX_DEPTH}>" if depth <= 0
        made = value.first(MAX_ITEMS).map { |item| jsonable(item, depth - 1) }
        made << "<cut: #{value.size - MAX_ITEMS} more items>" if value.size > MAX_ITEMS
        made
      else value
      end
    end
  end
end
