"""Lesson 3: raise in one connection; who notices?"""
