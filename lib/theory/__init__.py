"""Section 4 and appendix C: formulas for one layer, and a check of every statement.

formulas                        both sides of each statement, from a layer's (y, g, H, gamma, eps)
samples                         random layers and the networks behind them
equations, theorems, symbolic   one check a statement, in numbers or in symbols
statements, evidence, verdicts  the registry, and the verdicts that follow from the checks
examples                        counterexamples to check by hand
"""
