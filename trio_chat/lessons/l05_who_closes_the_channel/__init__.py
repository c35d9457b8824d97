"""Lesson 5: who closes the channel?"""
