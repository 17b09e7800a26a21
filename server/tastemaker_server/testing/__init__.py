"""Contract suites: what every backend of a store must do, as pytest base classes.

A backend's test subclasses one and gives the fixture that opens it:

    class TestSqliteEventLog(EventLogContract):
        @pytest.fixture
        async def event_log(self, tmp_path): ...
"""

from tastemaker_server.testing.event_log_contract import EventLogContract
from tastemaker_server.testing.events import logged, make_event
from tastemaker_server.testing.lists import generation_info, list_of
from tastemaker_server.testing.online_store_contract import OnlineStoreContract

__all__ = ["EventLogContract", "OnlineStoreContract", "generation_info", "list_of", "logged", "make_event"]
