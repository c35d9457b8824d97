"""Lesson 8: do timeouts compose?"""
