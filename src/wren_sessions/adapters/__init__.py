"""Other frameworks' conversations on the same sessions; each adapter is a module and an extra.

An adapter keeps a framework's messages as a list in a session's state, by default under
``"messages"``. So everything that works on sessions works on them too: lifetimes, owners,
encryption, transcripts, export, the command line.

- `wren_sessions.adapters.langchain`: LangChain's chat message history
- `wren_sessions.adapters.openai_agents`: a session of the OpenAI Agents SDK
- `wren_sessions.adapters.pydantic_ai`: Pydantic AI's message history
"""
