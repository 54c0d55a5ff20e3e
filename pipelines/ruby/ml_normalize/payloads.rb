# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # Payload logs of model servers to one flat foreign event: CloudEvents (KServe's logger), the inference tables of
  # MLflow on Databricks, and the payloads themselves: Open Inference Protocol v2 and v1, MLflow's dataframes.
  # An event stands for one prediction, so a payload of several rows is refused.
  module Payloads
    ENVELOPES = %w[data request response request_metadata].freeze
    ROWS = %w[dataframe_records instances].freeze
    # Keys of the payload logs whose `inputs` may be columns: a list of the rows' values for each name.
    OF_COLUMNS = %w[specversion request_metadata databricks_request_id].freeze

    module_function

    # The content of the event's envelopes, and under `inputs` those of its one row, by name: of the first of
    # `keys_of_inputs`, and of the known payloads, that can be read.
    def unwrap(document, keys_of_inputs)
      flat = document.dup
      cloud_event = flat.key?("specversion")
      may_be_columns = OF_COLUMNS.any? { |key| flat.key?(key) }
      ENVELOPES.each { |name| open(flat, name) if name != "data" || cloud_event }
      if cloud_event
        if flat.key?("inferenceservicename") && !Text.filled?(flat["model_name"])
          flat["model_name"] = flat.delete("inferenceservicename")
        end
        flat["request_id"] = flat["id"] if flat.key?("id") && !Text.filled?(flat["request_id"])
      end
      [*keys_of_inputs, *ROWS, "dataframe_split"].each do |key|
        value = parsed(flat[key])
        found = Text.filled?(value) ? inputs(key, value, may_be_columns) : nil
        next if found.nil?
        flat.delete(key)
        flat["#{key}.inputs"] = flat["inputs"] unless flat["inputs"].nil?
        flat["inputs"] = found
        break
      end
      flat
    end

    # Put what an envelope holds beside it; what the event itself says stays, unless it is null.
    def open(flat, name)
      held = parsed(flat[name])
      held = { "predictions" => held } if held.is_a?(Array) && name == "response"
      return unless held.is_a?(Hash)
      flat.delete(name)
      held.each { |key, value| flat[flat[key].nil? ? key : "#{name}.#{key}"] = value }
    end

    # The object or list that a text holds as JSON; anything else as it is.
    def parsed(value)
      return value unless value.is_a?(String) && value.start_with?("{", "[")
      Parsing.to_ruby(Parsing.parse_value(value).first)
    rescue Refused
      value
    end

    # The inputs of the one row, by name; nil if the value is not a known payload.
    def inputs(key, value, may_be_columns)
      return split_row(value) if key == "dataframe_split"
      payload = ROWS.include?(key)
      return key == "inputs" && may_be_columns ? columns_row(value) : value if value.is_a?(Hash) && !payload
      return nil unless value.is_a?(Array)
      unless payload
        if tensors?(value)
          found = spread(value)
          return found.empty? ? nil : found
        end
        return nil unless value.all?(Hash) || value.all?(Array)
      end
      row = only(value)
      return row if row.is_a?(Hash)
      values = row.is_a?(Array) ? row.flatten : [row]
      values.empty? ? nil : values.each_with_index.to_h { |item, i| [i.to_s, item] }
    end

    # The one row of a pandas frame in the orientation `split`.
    def split_row(split)
      return nil unless split.is_a?(Hash) && split["data"].is_a?(Array) && !split["data"].empty?
      row = only(split["data"])
      columns = split["columns"]
      return nil unless row.is_a?(Array) && columns.is_a?(Array) && row.length == columns.length
      columns.each_with_index.to_h { |name, i| [name.is_a?(String) ? name : i.to_s, row[i]] }
    end

    # The one row of columns, which are lists of the same length; anything else as it is.
    def columns_row(inputs)
      lengths = inputs.values.map { |values| values.is_a?(Array) ? values.length : 0 }.uniq
      return inputs if lengths.length != 1 || lengths.first.zero?
      inputs.transform_values { |values| only(values) }
    end

    # An output's tensors as values by name, or the one value; anything else as it is.
    def unpack_tensors(output)
      return output unless output.is_a?(Array) && tensors?(output)
      values = spread(output)
      values.length == 1 ? values.values.first : values
    end

    def tensors?(values)
      !values.empty? && values.all? do |each|
        each.is_a?(Hash) && each["name"].is_a?(String) && each["data"].is_a?(Array)
      end
    end

    # Tensors of one row as values by name; of several elements each is `name.0`, `name.1`, ...
    def spread(tensors)
      made = {}
      tensors.each do |tensor|
        data = tensor["data"].flatten
        shape = tensor["shape"]
        rows = shape.is_a?(Array) && shape.first.is_a?(Integer) ? shape.first : data.length
        batch(rows) if rows > 1
        if data.length == 1
          made[tensor["name"]] = data.first
        else
          data.each_with_index { |value, i| made["#{tensor["name"]}.#{i}"] = value }
        end
      end
      made
    end

    def only(rows)
      batch(rows.length) if rows.length > 1
      rows.first
    end

    def batch(rows)
      raise Refused.new("batch", "the payload holds #{rows} rows; log one event per prediction")
    end
  end
end
