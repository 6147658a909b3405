"""Where the work is done: servers, the links to them, and ports where nothing goes on."""
