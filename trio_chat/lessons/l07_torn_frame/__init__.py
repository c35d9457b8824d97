"""Lesson 7: cancelled in the middle of a frame. What may cleanup do?"""
