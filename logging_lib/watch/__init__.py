"""The watch engine: runs Elasticsearch Watcher's JSON files over any store, on any licence.

``loading.load_watches`` reads and checks them, ``runner.Runner`` evaluates them and performs their actions,
``backtest.backtest`` replays history. Watches are evaluated by pure functions (``evaluate``, ``conditions``,
``templating``, ``incidents``): what they search with and the time are arguments.
"""
