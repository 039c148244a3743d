"""Words and tokens: tokenizers, chat formats, and the parsers of thinking and of tool calls.

    tokenizer = Tokenizer.from_folder(folder)
    chat = chat_format(tokenizer)
    prompt = chat.encode([Message("user", "What is the capital of France?")])

Import from the modules: `freehold.text.tokenizer`, `.chat`, `.reasoning`, `.tools`, `.terminal`.
Nothing here imports torch.
"""
