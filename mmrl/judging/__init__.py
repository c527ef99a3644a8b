"""How verifiers are called: their parameters, many samples at a time, in killable processes."""
