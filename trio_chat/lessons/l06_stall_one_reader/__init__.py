"""Lesson 6: stall one reader. Who waits?"""
