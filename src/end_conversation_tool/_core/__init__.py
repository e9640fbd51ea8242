"""The pure core: words, records, rules and the decision. No I/O, no framework."""
