from types import SimpleNamespace

current_optimizer = SimpleNamespace(name="InvokeAI")
model_hijack = SimpleNamespace(comments=[], clear_comments=lambda: model_hijack.comments.clear())
