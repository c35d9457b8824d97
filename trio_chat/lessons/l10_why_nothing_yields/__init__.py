"""Lesson 10: why may nothing yield inside a nursery?"""
