# encoding: utf-8
# frozen_string_literal: true

module MlNormalize
  # Payload logs of model servers to one flat foreign event: CloudEvents (KServe's logger), the inference tables of
  # MLflow on Databricks, and the payloads themselves: Open Inference Protocol v2 and v1, MLflow's dataframes.
  # An event stands for one prediction, so a payload of several rows is refused.
  module Payloads
    ENVELOPES = %w[data request response request_metadata].freeze
    ROWS = %w[dataframe_records instances].freeze

    module_function

    def unwrap(document)
      flat = document.dup
      cloud_event = flat.key?("specversion")
      ENVELOPES.each { |name| open(flat, name) if name != "data" || cloud_event }
      if cloud_event
        if flat.key?("inferenceservicename") && !flat.key?("model_name")
          flat["model_name"] = flat.delete("inferenceservicename")
        end
        flat["request_id"] = flat["id"] if flat.key?("id") && !flat.key?("request_id")
      end
      inputs = inputs(flat)
      unless inputs.nil?
        flat["inputs"] = inputs
        outputs(flat)
      end
      flat
    end

    # Put what an envelope holds beside it; what the event itself says stays.
    def open(flat, name)
      held = flat[name]
      if held.is_a?(String) && held.start_with?("{")
        begin
          held = Parsing.to_ruby(Parsing.parse(held).first)
        rescue Refused
          return
        end
      end
      held = { "predictions" => held } if held.is_a?(Array) && name == "response"
      return unless held.is_a?(Hash)
      flat.delete(name)
      held.each { |key, value| flat[flat.key?(key) ? "#{name}.#{key}" : key] = value }
    end

    # The inputs of the one row, by name; nil where the event holds no payload that is known.
    def inputs(flat)
      return spread(flat["inputs"]) if tensors?(flat["inputs"])
      ROWS.each do |key|
        next unless rows?(flat[key])
        row = only(flat.delete(key))
        return row if row.is_a?(Hash)
        return Array(row.is_a?(Array) ? row.flatten : [row]).each_with_index.to_h { |value, i| [i.to_s, value] }
      end
      split = flat["dataframe_split"]
      return nil unless split.is_a?(Hash) && rows?(split["data"])
      row = only(split["data"])
      columns = split["columns"]
      return nil unless row.is_a?(Array) && columns.is_a?(Array) && row.length == columns.length
      flat.delete("dataframe_split")
      columns.each_with_index.to_h { |name, i| [name.is_a?(String) ? name : i.to_s, row[i]] }
    end

    def outputs(flat)
      if tensors?(flat["outputs"])
        values = spread(flat.delete("outputs"))
        flat["prediction"] = values.length == 1 ? values.values.first : values
      elsif rows?(flat["predictions"])
        flat["prediction"] = only(flat["predictions"])
        flat.delete("predictions")
      end
    end

    def tensors?(value)
      rows?(value) && value.all? do |each|
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

    # The one row of a list of rows by name; anything else as it is.
    def only_row(inputs)
      rows?(inputs) && inputs.all?(Hash) ? only(inputs) : inputs
    end

    def rows?(value)
      value.is_a?(Array) && !value.empty?
    end

    def only(rows)
      batch(rows.length) if rows.length > 1
      rows.first
    end

    def batch(rows)
      raise Refused.new("batch", "the payload holds #{rows} rows; log one event a prediction")
    end
  end
end
