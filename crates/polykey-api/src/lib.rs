//! Request and reply types of the agent's local API.
