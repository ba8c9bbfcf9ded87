"""`roomful serve --workers N`: several nodes on one port, one process each, under a supervisor.

supervise   the supervisor's life: the port, the broker, the crew
crew        all workers together: started, renewed one by one, stopped
place       where one worker runs, and after its end the next one
worker      one such process, as its supervisor sees it
line        what these two tell each other
__main__    the process itself
"""
