//! Keys, values, entries, the merge rule, the schema table.
