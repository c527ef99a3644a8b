"""What an objective is made of beyond the loss: small functions of numbers and tensors, one paper
each.
"""
