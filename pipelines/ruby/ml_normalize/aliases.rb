# encoding: utf-8
# frozen_string_literal: true

require "psych"

module MlNormalize
  # A file of aliases: where the records of another log hold what the built-in names do not find. All its scalars are
  # texts, so that no YAML library decides what `1.0` or `no` is.
  class Aliases
    MAX_FILE = 1_000_000
    MAX_NESTING = 6
    MAX_PARTS = 16
    MAX_SOURCES = 16
    KEYS = %w[extend replace drop].freeze
    SOURCE_KEYS = %w[path names encoding default].freeze
    WITH_TABLES = %w[inputs prediction scores].freeze
    WITH_DEFAULT = %w[model version service sampling].freeze
    PART = /(?:\\[.\\]|[^.\\])+/
    PATH = /\A#{PART}(?:\.#{PART})*\z/
    ESCAPE = /\\(.)/
    INDEX = /\A[0-9]{1,9}\z/
    REMOVED = Object.new.freeze

    # A file that cannot be used; the message names the file, the entry and the remedy.
    class Error < StandardError; end

    # A place of a value: as it is written, its parts, and for a row its columns or their place, and its encoding's.
    Source = Struct.new(:text, :path, :names, :names_path, :encoding_path)

    attr_reader :sources, :defaults, :replaced, :dropped

    def initialize(sources, defaults, replaced, dropped)
      @sources = sources.freeze
      @defaults = defaults.freeze
      @replaced = replaced.freeze
      @dropped = dropped.freeze
    end

    def self.read(path)
      content = File.binread(path)
      parse(content, path)
    rescue SystemCallError => error
      raise Error, "#{path}: cannot be read: #{error.message}"
    end

    def self.parse(content, file)
      Reader.new(file).read(content)
    end

    # The values of an event's sources by our name, and the event without them.
    def extract(document)
      found = {}
      used = @dropped.dup
      parsed = {}
      @sources.each do |name, sources|
        sources.each do |source|
          value = find(document, source.path, parsed)
          next unless Text.filled?(value)
          if WITH_TABLES.include?(name)
            value = table(name, value, source, document, parsed)
            next if value.nil?
          end
          found[name] = value
          used.concat([source.path, source.names_path, source.encoding_path].compact)
          break
        end
      end
      rest = remove(document, used, parsed)
      [found, rest.equal?(REMOVED) ? {} : rest]
    end

    # Our names of the built-in keys that still apply.
    def built_in(found)
      Foreign::OURS.reject { |_, name| found.key?(name) || @replaced.include?(name) }
    end

    # All names of a field, for a message.
    def names_of(name)
      own = @sources.fetch(name, []).map(&:text)
      @replaced.include?(name) ? own : own + Foreign::ALIASES[name]
    end

    # Whether an event has a time of its own where the file says.
    def time?(document)
      parsed = {}
      @sources.fetch("timestamp", []).any? { |source| Text.filled?(find(document, source.path, parsed)) }
    end

    private

    def table(name, value, source, document, parsed)
      names = source.names
      unless source.names_path.nil?
        columns = find(document, source.names_path, parsed)
        if columns.is_a?(Array) && !columns.empty? && columns.all?(String)
          names = columns.uniq.length == columns.length ? columns : nil
        end
      end
      encoding = source.encoding_path.nil? ? nil : find(document, source.encoding_path, parsed)
      is_table = !(source.encoding_path.nil? && source.names_path.nil? && source.names.nil?)
      table = Tables::Table.new(source.text, names, encoding, is_table)
      name == "inputs" ? Tables.inputs(value, table) : Tables.output(value, table, Foreign::ALIASES[name])
    end

    # A text is parsed once, however many paths lead through it.
    def parse(text, parsed)
      parsed[text] = Payloads.parsed(text) unless parsed.key?(text)
      parsed[text]
    end

    # The value at a path, which may lead through JSON text, or nil.
    def find(document, path, parsed)
      path.reduce(document) do |value, part|
        value = parse(value, parsed) if value.is_a?(String)
        case value
        when Hash then value[part]
        when Array then INDEX.match?(part) ? value[part.to_i] : nil
        end
      end
    end

    # A value without what is at the paths, and what is empty then; in a list, null takes its place.
    def remove(value, paths, parsed)
      return REMOVED if paths.any?(&:empty?)
      if value.is_a?(String)
        content = parse(value, parsed)
        rest = content.is_a?(String) ? content : remove(content, paths, parsed)
        return rest.equal?(content) ? value : rest
      end
      by_part = paths.group_by(&:first).transform_values { |of_part| of_part.map { |path| path.drop(1) } }
      case value
      when Hash then remove_keys(value, by_part, parsed)
      when Array then remove_places(value, by_part, parsed)
      else value
      end
    end

    def remove_keys(value, by_part, parsed)
      items = by_part.slice(*value.keys).to_h { |part, rest| [part, remove(value[part], rest, parsed)] }
      return value if items.all? { |part, item| item.equal?(value[part]) }
      made = value.merge(items).reject { |_, item| item.equal?(REMOVED) }
      made.empty? ? REMOVED : made
    end

    def remove_places(value, by_part, parsed)
      elements = value.dup
      by_part.each do |part, rest|
        next unless INDEX.match?(part) && part.to_i < value.length
        element = remove(elements[part.to_i], rest, parsed)
        elements[part.to_i] = element.equal?(REMOVED) ? nil : element
      end
      return value if elements.each_with_index.all? { |element, i| element.equal?(value[i]) }
      elements.compact.empty? ? REMOVED : elements
    end

    # Reads a file's content.
    class Reader
      def initialize(file)
        @file = file
      end

      def read(content)
        mapping = expect_mapping(load_texts(content), "the file")
        check_keys(mapping, KEYS, "")
        sources = {}
        defaults = {}
        replaced = []
        %w[extend replace].each do |key|
          fields = expect_mapping(mapping.fetch(key, {}), key)
          check_keys(fields, Foreign::ALIASES.keys, "#{key}.")
          fields.each do |name, value|
            entry = "#{key}.#{name}"
            if key == "replace"
              replaced << name
              failed(entry, "is in extend, too; keep one of extend.#{name} and #{entry}") if mapping.fetch("extend", {}).key?(name)
            end
            sources[name] = read_sources(name, value, entry, defaults)
            if %w[model inputs].include?(name) && sources[name].empty? && !defaults.key?(name)
              failed(entry, "has no path; write one")
            end
          end
        end
        dropped = mapping.fetch("drop", [])
        paths = dropped.is_a?(String) ? [dropped] : dropped
        failed("drop", "expected a list of paths, found #{Text.shown(dropped)}") unless paths.is_a?(Array)
        paths = paths.each_with_index.map { |path, i| read_path(path, "drop[#{i}]") }
        Aliases.new(sources.reject { |_, of_name| of_name.empty? }, defaults, replaced, paths)
      end

      private

      # YAML with all scalars as texts; anchors are refused, since a small file of them has a huge content.
      def load_texts(content)
        fail_file("has #{content.bytesize} bytes; write at most #{MAX_FILE}") if content.bytesize > MAX_FILE
        text = content.dup.force_encoding(Encoding::UTF_8)
        fail_file("not YAML: not UTF-8") unless text.valid_encoding?
        documents = Psych.parse_stream(text).children
        fail_file("not YAML: more than one document") if documents.length > 1
        return {} if documents.empty?
        check_shape(documents.first.root)
        plain(documents.first.root)
      rescue Psych::Exception => error
        fail_file("not YAML: #{error.message}")
      end

      def check_shape(root)
        nodes = [[root, 0]]
        until nodes.empty?
          node, depth = nodes.pop
          if node.is_a?(Psych::Nodes::Alias) || !node.anchor.nil?
            fail_file("has anchors or aliases of YAML (& and *); write their content")
          end
          next if node.is_a?(Psych::Nodes::Scalar)
          fail_file("is nested deeper than #{MAX_NESTING}; see pipelines/README.md for its format") if depth == MAX_NESTING
          node.children.each { |child| nodes << [child, depth + 1] }
        end
      end

      def plain(node)
        case node
        when Psych::Nodes::Scalar then node.value
        when Psych::Nodes::Sequence then node.children.map { |item| plain(item) }
        else
          mapping = {}
          node.children.each_slice(2) do |key_node, value_node|
            key = plain(key_node)
            fail_file("the key #{Text.shown(key)} is not a text; write one") unless key.is_a?(String)
            fail_file("#{key} is written twice; put both into one list") if mapping.key?(key)
            mapping[key] = plain(value_node)
          end
          mapping
        end
      end

      def read_sources(name, value, entry, defaults)
        items = value.is_a?(Array) ? value : [value]
        failed(entry, "has #{items.length} sources; write at most #{MAX_SOURCES}") if items.length > MAX_SOURCES
        sources = []
        items.each_with_index do |item, i|
          place = value.is_a?(Array) ? "#{entry}[#{i}]" : entry
          if item.is_a?(Hash) && item.key?("default") then read_default(name, item, place, defaults)
          elsif item.is_a?(Hash) then sources << read_source(name, item, place)
          else sources << Source.new(item, read_path(item, place))
          end
        end
        sources
      end

      def read_default(name, item, place, defaults)
        check_keys(item, ["default"], "#{place}.")
        unless WITH_DEFAULT.include?(name)
          failed("#{place}.default", "only #{WITH_DEFAULT.join(", ")} can have one; write a path")
        end
        default = item["default"]
        unless default.is_a?(String) && Text.filled?(default)
          failed("#{place}.default", "expected a text, found #{Text.shown(default)}")
        end
        failed("#{place}.default", "#{name} has a default already; keep one") if defaults.key?(name)
        defaults[name] = default
      end

      def read_source(name, item, place)
        check_keys(item, SOURCE_KEYS, "#{place}.")
        failed(place, "has no path; write path: with the place of the value, or default:") unless item.key?("path")
        path = read_path(item["path"], "#{place}.path")
        %w[names encoding].each do |key|
          next if !item.key?(key) || WITH_TABLES.include?(name)
          failed("#{place}.#{key}", "only #{WITH_TABLES.join(", ")} can have it; remove it")
        end
        names = item["names"]
        names_path = nil
        if names.is_a?(Array) then check_names(names, place)
        elsif !names.nil?
          names_path = read_path(names, "#{place}.names")
          names = nil
        end
        encoding_path = item.key?("encoding") ? read_path(item["encoding"], "#{place}.encoding") : nil
        Source.new(item["path"], path, names, names_path, encoding_path)
      end

      def check_names(names, place)
        names.each_with_index do |column, i|
          next if column.is_a?(String) && column != ""
          failed("#{place}.names[#{i}]", "expected a name, found #{Text.shown(column)}")
        end
        failed("#{place}.names", "is empty; write a name for each column, or remove it") if names.empty?
        failed("#{place}.names", "has a name twice; give each column its own") if names.uniq.length < names.length
      end

      def read_path(value, place)
        unless value.is_a?(String) && PATH.match?(value)
          failed(place, "#{Text.shown(value)} is not a path; write keys with dots between them, such as " \
                        "request.inputs.0, and \\. for a dot within a key")
        end
        parts = value.scan(PART).map { |part| part.gsub(ESCAPE, '\1') }
        failed(place, "has #{parts.length} parts; write at most #{MAX_PARTS}") if parts.length > MAX_PARTS
        parts
      end

      def expect_mapping(value, place)
        failed(place, "expected a mapping, found #{Text.shown(value)}") unless value.is_a?(Hash)
        value
      end

      def check_keys(mapping, known, prefix)
        mapping.each_key do |key|
          failed("#{prefix}#{key}", "is not known; write one of #{known.join(", ")}") unless known.include?(key)
        end
      end

      def failed(place, message)
        fail_file("#{place}: #{message}")
      end

      def fail_file(message)
        raise Error, "#{@file}: #{message}"
      end
    end
  end
end
