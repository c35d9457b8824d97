"""Lesson 1: where does every task live, and who waits for it?"""
