"""Lesson 4: `start` or `start_soon`, and who owns the socket?"""
