"""Lesson 2: cancel one room. What dies, what lives, when?"""
