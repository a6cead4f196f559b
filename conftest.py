"""What all tests share. It stands here, and not in tests/, because pytest takes plugins only from the topmost conftest."""

pytest_plugins = ["tests.servers.fixtures"]
