"""Whole networks on a chip: conversion of their layers, ranges, training for the chip, cost, and trained examples."""
