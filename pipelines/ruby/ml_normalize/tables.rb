# encoding: utf-8
# frozen_string_literal: true

require "strscan"

module MlNormalize
  # One row of values at a place that a file of aliases names: a list, a list of one row, a tensor of Seldon
  # ({"shape": ..., "values": ...}), the tensors of the Open Inference Protocol, or a text: JSON, one line of CSV, or one
  # of these in base64. Its columns have names, or their numbers.
  module Tables
    ROWS = ["inputs", *Payloads::ROWS].freeze
    CELL = /[ \t]*+(?:"((?:[^"]++|"")*+)"[ \t]*+|([^",\r\n]*+))(,|\r\n|\n|\r|\z)/
    LEADING_SPACE = /\A[ \t\r\n]+/
    TRAILING_BLANKS = /(?<![ \t])[ \t]+\z/
    OBJECT_OR_LIST = ["{", "["].freeze

    # A place of a row: for messages, the columns' names or nil, the encoding of a text, and whether a text is a row.
    Table = Struct.new(:path, :names, :encoding, :is_table)

    module_function

    # Inputs by name; nil where the value cannot be read.
    def inputs(value, table)
      if value.is_a?(String)
        value = table.is_table ? text(value, table.encoding) : Payloads.parsed(value)
        if value.is_a?(Hash) && table.is_table
          key = ROWS.find { |key_of_rows| value[key_of_rows].is_a?(Array) }
          if key.nil?
            inputs = Payloads.unwrap(value, ROWS.take(1))["inputs"]
            return inputs.is_a?(Hash) ? inputs : value
          end
          value = value[key]
        end
      end
      row = row(value)
      return row if row.nil? || row.is_a?(Hash)
      return row.each_with_index.to_h { |cell, i| [i.to_s, cell] } if table.names.nil?
      if table.names.length != row.length
        raise Refused.new("names", "#{row.length} values in `#{table.path}`, but #{table.names.length} names")
      end
      table.names.zip(row).to_h
    end

    # The only value of a row, a row by name or as a list, or anything else as it is.
    def output(value, table, payload_keys)
      if value.is_a?(String) && table.is_table
        value = text(value, table.encoding)
        case value
        when Array then value = value.map { |cell| Text.spelled(cell) }
        when Hash
          key = payload_keys.find { |payload_key| Text.filled?(value[payload_key]) }
          value = value[key] unless key.nil?
        end
      end
      return value if value.is_a?(Array) && (Payloads.tensors?(value) || !table.is_table)
      row = row(value)
      return value unless row.is_a?(Array)
      return row.first if row.length == 1
      table.names.nil? || table.names.length != row.length ? row : table.names.zip(row).to_h
    end

    # The only row: its values, or a Hash by name; nil for anything else.
    def row(value)
      if value.is_a?(Hash)
        return value unless tensor?(value)
        rows = value["shape"].first
        Payloads.batch(rows) if rows.is_a?(Integer) && rows > 1
        values = value["values"].flatten
        return values.empty? ? nil : values
      end
      return nil if !value.is_a?(Array) || value.empty?
      if Payloads.tensors?(value)
        values = Payloads.spread(value)
        return values.empty? ? nil : values
      end
      if value.all?(Hash) || value.all?(Array)
        row = Payloads.only(value)
        row = row.flatten if row.is_a?(Array)
        return row.empty? ? nil : row
      end
      value.any? { |cell| cell.is_a?(Hash) || cell.is_a?(Array) } ? nil : value
    end

    # Whether a Hash is a tensor of Seldon's protocol.
    def tensor?(value)
      value["shape"].is_a?(Array) && value["values"].is_a?(Array)
    end

    # A text as JSON or as a row of CSV; nil where it is neither.
    def text(text, encoding)
      if encoding == "BASE64"
        text = decoded(text)
        return nil if text.nil?
      end
      text = text.sub(LEADING_SPACE, "")
      return csv(text) if encoding == "CSV" || !text.start_with?(*OBJECT_OR_LIST)
      value = Payloads.parsed(text)
      value.is_a?(String) ? nil : value
    end

    # The text in base64, which must be canonical, so that all libraries read the same.
    def decoded(text)
      content = text.unpack1("m")
      return nil unless [content].pack("m0") == text
      content.force_encoding(Encoding::UTF_8)
      content.valid_encoding? ? content : nil
    end

    # The cells of the only row of CSV (RFC 4180), without blanks around them; nil where it is none.
    def csv(text)
      rows = []
      row = []
      scanner = StringScanner.new(text)
      while scanner.scan(CELL)
        quoted = scanner[1]
        row << (quoted.nil? ? scanner[2].sub(TRAILING_BLANKS, "") : quoted.gsub('""', '"'))
        next if scanner[3] == ","
        rows << row unless row == [""]
        row = []
        return rows.empty? ? nil : Payloads.only(rows) if scanner.eos?
      end
      nil
    end
  end
end
