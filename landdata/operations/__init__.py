"""What an operator asks: is everything that landdata needs in order?"""
