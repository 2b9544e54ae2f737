"""The dashboard: a page in the browser on which people ask a model, and see its explanations.

What is asked and computed stands in `given`, `effects` and `turns`, without a word of Streamlit; the rest draws.
"""
