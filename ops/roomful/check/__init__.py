"""`roomful check`: are the promises kept, while nodes and networks fail?"""
