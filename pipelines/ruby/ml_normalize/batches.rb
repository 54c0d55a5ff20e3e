# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # The body of one HTTP request to the bytes of its events.
  module Batches
    PARTS = Regexp.new("#{Parsing::STRING}|[\\[{\\]},]", Regexp::MULTILINE)

    module_function

    # An array is its elements, as shippers send batches; several lines are one event a line, unless they are
    # together one JSON document; anything else is one event. What is blank is nothing.
    def split(body)
      text = body.dup.force_encoding(Encoding::BINARY)
      from = text.index(/[^ \t\r\n]/n)
      return [] if from.nil?
      return elements(text, from) || [text] if text[from] == "["
      return [text] if !text.include?("\n") || whole?(text)
      text.split("\n").reject { |line| line.match?(/\A[ \t\r]*\z/n) }
    end

    def whole?(text)
      Parsing.parse(text)
      true
    rescue Refused
      false
    end

    # The bytes of an array's elements, or nil where the brackets do not close.
    def elements(text, from)
      found = []
      depth = 0
      start = from + 1
      position = from
      while (at = text.index(PARTS, position))
        token = $&
        position = at + token.bytesize
        case token
        when "[", "{" then depth += 1
        when "]", "}"
          depth -= 1
          next unless depth.zero?
          found << text.byteslice(start, at - start)
          return nil unless text.byteslice(position, text.bytesize).match?(/\A[ \t\r\n]*\z/n)
          return found.reject { |element| element.match?(/\A[ \t\r\n]*\z/n) }
        when ","
          next unless depth == 1
          found << text.byteslice(start, at - start)
          start = position
        end
      end
      nil
    end
  end
end
