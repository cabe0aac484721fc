import pytest
pytest.register_assert_rewrite("model.machine", "model.model")
