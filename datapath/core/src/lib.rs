//! Log format, logger, replay, version chain, planner.
