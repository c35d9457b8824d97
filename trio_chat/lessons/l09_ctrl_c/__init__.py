"""Lesson 9: Ctrl-C with 1,000 members. How long does it take, and in which order?"""
