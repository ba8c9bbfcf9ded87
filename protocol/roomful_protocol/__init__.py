"""What crosses a wire, and nothing that reads or writes one."""
