"""`roomful check`: are the promises kept, while nodes and networks fail?

`history.py` is what clients were told, `roomlog.py` what the log holds; `verdict.py` judges both by
its rules. None of these does I/O, so that a simulation can be judged by them, too.
"""
