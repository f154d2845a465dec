class SdConditioning(list):
    """Prompts with the size of the picture (modules/prompt_parser.py:139)."""

    def __init__(self, prompts, is_negative_prompt=False, width=None, height=None):
        super().__init__(prompts)
        self.is_negative_prompt, self.width, self.height = is_negative_prompt, width, height
