"""The pages, in Plotly Dash."""
