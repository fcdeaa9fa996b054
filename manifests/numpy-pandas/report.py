"""Summarise measurements with pandas, and solve equations with numpy."""

import numpy as np
import pandas as pd

table = pd.read_csv("measurements.csv")
print(table.groupby("site")["value"].agg(["count", "mean"]).to_string())
solution = np.linalg.solve(np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([9.0, 8.0]))
print("solution", *solution.round(6))
