"""Run Elasticsearch Watcher's JSON files over any store, on any license.

``loading.load_watches`` reads and validates watches, ``runner.Runner`` evaluates them and notifies,
``backtest.backtest`` replays history. Watches are evaluated by pure functions (``evaluate``, ``conditions``,
``templating``, ``incidents``): what they search with and the time are arguments.
"""
